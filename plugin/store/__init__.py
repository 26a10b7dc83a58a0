"""SQL: the inbox, contact links, shops and all else that must survive. SQL stands in this package alone."""
