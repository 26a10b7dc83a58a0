"""The commands of `engage-plugin`, one module a group."""
