"""`engage-plugin doctor`: the command, and its checks of the machine and of each shop.

The checks change nothing; the comparison with Engage's contract is in `plugin.engage.contract`.
"""
