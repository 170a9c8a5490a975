"""The pages for people: what each reads, and how values are written for people. The templates draw it.

display      values as text: clipped, dated, linked
start        the first page: the open frame, trends, and the beginning of every list
frames       the list of frames, one frame, and two frames compared
streams      the list of streams, and one stream
entities     collections, their entities, one entity, and books
lists        conflicts, quarantine, claims, troubles
render       the templates, and the pages kept
"""
