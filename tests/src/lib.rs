//! Known-answer workloads and the readers that check profiles of them.
