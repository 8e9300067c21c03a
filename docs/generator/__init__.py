"""Reference pages that are written when the site is built: from the code, never by hand."""
