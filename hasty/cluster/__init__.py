"""The only package that imports Ray: the plain actors put into Ray's shells."""
