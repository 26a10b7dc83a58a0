"""A demonstration on one machine: a made-up shop, a stand-in for Engage, and the plugin between them."""
