//! The answer of a step, which comes later.

use std::pin::Pin;

/// A future of an engine.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
