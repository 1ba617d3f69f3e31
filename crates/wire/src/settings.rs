//! The settings document. A value is written as a JSON text, `"true"` or `"false"`, never as a JSON boolean; it is read
//! as either.

use model::settings::{Setting, Settings};
use serde::{Deserialize, Serialize};

use crate::body::{BodyError, Object, to_json};

/// Reads the body that changes a setting, `{"value":"true"}`. The published Python client sends `{"value":true}`.
///
/// # Errors
/// [`BodyError`] unless the value is the text `true` or `false`, in any case, or one of the two JSON booleans.
///
/// Source: settings document, `UpdateSettingRequest`; azure-keyvault-administration, `update_setting`.
pub fn parse_value(body: &[u8]) -> Result<bool, BodyError> {
    let member = Object::parse(body)?.required("value")?;
    if let Ok(value) = member.bool() {
        return Ok(value);
    }
    match member.text().unwrap_or_default().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(member.refuse(r#"must be "true" or "false""#)),
    }
}

/// `{"name","type":"boolean","value":"true|false"}`.
#[must_use]
pub fn setting(setting: Setting, value: bool) -> Vec<u8> {
    to_json(&SettingJson::new(setting, value))
}

/// `{"settings":[…]}`, all of them.
#[must_use]
pub fn setting_list(settings: Settings) -> Vec<u8> {
    #[derive(Serialize)]
    struct List {
        settings: Vec<SettingJson>,
    }
    let all = Setting::ALL.iter().map(|setting| SettingJson::new(*setting, settings.value(*setting)));
    to_json(&List { settings: all.collect() })
}

#[derive(Serialize)]
struct SettingJson {
    name: &'static str,
    r#type: &'static str,
    value: &'static str,
}

impl SettingJson {
    fn new(setting: Setting, value: bool) -> Self {
        Self { name: setting.name(), r#type: "boolean", value: if value { "true" } else { "false" } }
    }
}

/// A setting, as a client reads it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct SettingReply {
    /// Its name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

/// All settings, as a client reads them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct SettingsReply {
    /// The settings.
    pub settings: Vec<SettingReply>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARM: Setting = Setting::AllowKeyManagementOperationsThroughArm;

    #[test]
    fn a_value_is_a_text_or_a_boolean() {
        assert_eq!(parse_value(br#"{"value":"true"}"#), Ok(true));
        assert_eq!(parse_value(br#"{"value":"False","x":1}"#), Ok(false));
        assert_eq!(parse_value(br#"{"value":true}"#), Ok(true));
        assert_eq!(parse_value(br#"{"value": false}"#), Ok(false));
        for bad in ["{}", r#"{"value":1}"#, r#"{"value":""}"#, r#"{"value":"yes"}"#, r#"{"value":null}"#, "true"] {
            assert!(parse_value(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_written_as_the_live_service_does() {
        let one = r#"{"name":"AllowKeyManagementOperationsThroughARM","type":"boolean","value":"true"}"#;
        assert_eq!(String::from_utf8(setting(ARM, true)).unwrap(), one);
        let all = String::from_utf8(setting_list(Settings::default().with(ARM, true))).unwrap();
        assert_eq!(all, format!(r#"{{"settings":[{one}]}}"#));
        let read: SettingsReply = serde_json::from_str(&all).unwrap();
        assert_eq!((read.settings[0].name.as_str(), read.settings[0].value.as_str()), (ARM.name(), "true"));
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_sent_back(value: bool) {
            prop_assert_eq!(parse_value(&setting(ARM, value)), Ok(value));
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = parse_value(&bytes);
        }
    }
}
