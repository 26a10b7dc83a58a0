"""The operations of Engage by noun: one method each, put together in `plugin.engage.client`."""
