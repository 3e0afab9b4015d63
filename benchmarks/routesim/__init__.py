"""RouteSim: an hour of a conversation service on a virtual clock, to compare our router with the rules of others."""
