//! The pool's settings. One is published.

/// A setting, by its published name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Setting {
    /// Whether the control plane may create and list keys. Off unless the administrator says otherwise.
    AllowKeyManagementOperationsThroughArm,
}

impl Setting {
    /// Every setting.
    pub const ALL: &'static [Self] = &[Self::AllowKeyManagementOperationsThroughArm];

    /// The published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AllowKeyManagementOperationsThroughArm => "AllowKeyManagementOperationsThroughARM",
        }
    }

    /// The setting with this name, compared without case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|setting| setting.name().eq_ignore_ascii_case(name))
    }
}

/// The values of all settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// See [`Setting::AllowKeyManagementOperationsThroughArm`].
    pub allow_key_management_operations_through_arm: bool,
}

impl Settings {
    /// The value of one setting; all are booleans.
    #[must_use]
    pub fn value(self, setting: Setting) -> bool {
        match setting {
            Setting::AllowKeyManagementOperationsThroughArm => self.allow_key_management_operations_through_arm,
        }
    }

    /// These settings with one changed.
    #[must_use]
    pub fn with(self, setting: Setting, value: bool) -> Self {
        match setting {
            Setting::AllowKeyManagementOperationsThroughArm => {
                Self { allow_key_management_operations_through_arm: value }
            }
        }
    }
}
