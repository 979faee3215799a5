"""The protocol in Python: paths, patterns, values, views, cookies, digests, frames, two codecs.
All of it is pure."""
