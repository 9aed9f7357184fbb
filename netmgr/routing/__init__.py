"""The routing room: which model endpoints may answer a call, and in what order."""
