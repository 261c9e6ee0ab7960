//! Every reason of every condition is reached from something that can be observed.
