//! The number of threads that passes compute with. Results never depend on it.

/// Sets the number of threads of the process; once, before any pass has run.
///
/// # Errors
/// When the pool exists already or cannot be started; the text says why.
pub fn limit_threads(threads: usize) -> Result<(), String> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|error| error.to_string())
}
