"""From a shop's webhook to Engage: receive at the door, jobs that RQ runs, one handler a shop event."""
