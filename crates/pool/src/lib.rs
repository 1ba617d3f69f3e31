//! One Managed HSM: one method per operation.
