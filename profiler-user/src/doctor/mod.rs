//! What this host lets us do: one line a check, with the cost and the cure.
