"""How a routing plan is carried out: failures, breakers, health. Decisions, no I/O."""
