"""Files for the time when Engage stays away: XML written in constant memory, and the ways they leave this machine."""
