//! The allocator of the worker's program, and of the programs that measure it.
//!
//! Encoders and uploads allocate blocks of megabytes and free them on other threads; glibc's allocator keeps those. It is overridden for C
//! too, as librdkafka allocates for each record and frees on another thread.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
