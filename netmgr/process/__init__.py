"""How netmgr is made of processes: channels, frames, workers, and the giving up of privileges."""
