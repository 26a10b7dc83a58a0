"""The core of the plugin that connects a shop to Voyado Engage."""
