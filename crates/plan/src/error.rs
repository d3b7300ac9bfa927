//! Why a plan cannot be made.

/// A spec that cannot be planned. [`crate::validation`] reports the same faults as messages about
/// fields; a spec that passed validation is not refused here.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A label selector that the API server would refuse or misread.
    #[error("{field}: {fault}")]
    Selector {
        /// The spec's field.
        field: &'static str,
        /// What is wrong with it and how to write it.
        fault: crate::selector::SelectorError,
    },
    /// A pattern that is not understood.
    #[error("{field}: pattern {pattern:?} cannot be used: {reason}")]
    Pattern {
        /// The spec's field.
        field: &'static str,
        /// The pattern as it is written.
        pattern: String,
        /// Why, and what is allowed.
        reason: String,
    },
    /// Old and scoped filters in one spec: which of them should hold is not defined.
    #[error(
        "spec mixes includedResources, excludedResources or includeClusterResources with the filters by \
         scope (included/excludedClusterScopedResources, included/excludedNamespaceScopedResources); use \
         one kind of filter"
    )]
    MixedFilters,
    /// Both selector fields are set.
    #[error("spec has both labelSelector and orLabelSelectors; use one of them")]
    TwoSelectors,
    /// A list of restore priorities that cannot be read.
    #[error("restore resource priorities: {reason}")]
    Priorities {
        /// What is wrong with it.
        reason: String,
    },
    /// Times of a schedule that cannot be read or never come.
    #[error("{reason}")]
    Schedule {
        /// What is wrong with them and how to write them.
        reason: String,
    },
    /// A retention policy that cannot be read.
    #[error("retention policy {text:?}: {reason}")]
    Retention {
        /// The policy as it is written.
        text: String,
        /// What is wrong with it and how to write it.
        reason: String,
    },
    /// A ConfigMap of resource modifiers that cannot be used.
    #[error("{reason}")]
    ResourceModifiers {
        /// Whether it could be read, and says something that cannot be.
        read: bool,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A ConfigMap of resource policies that cannot be used.
    #[error("{reason}")]
    ResourcePolicies {
        /// Whether it could be read, and says something that cannot be.
        read: bool,
        /// What is wrong with it, and where.
        reason: String,
    },
}
