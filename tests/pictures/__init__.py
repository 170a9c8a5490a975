"""The pictures of the documents: drawn as SVG from text sources in docs/pictures (`make pictures`)."""
