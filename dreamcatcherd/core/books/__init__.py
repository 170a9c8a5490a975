"""Books that finish themselves: a projection of chapters and title pages that the merge keeps up to date."""
