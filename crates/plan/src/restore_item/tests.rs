//! Objects on their way back.
