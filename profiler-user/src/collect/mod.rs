//! Stage 2: ring bytes → samples, stacks and process events, in order of time; losses counted.
