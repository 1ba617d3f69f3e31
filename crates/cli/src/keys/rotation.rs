//! When a key rotates by itself.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use wire::keys::RotationPolicyReply;

use super::{NameArg, show};
use crate::connection::{Answer, Connection};
use crate::error::Error;
use crate::surroundings::Surroundings;
use crate::text::{Table, time};
use crate::values;

/// Reading and writing a rotation policy.
#[derive(Subcommand, Debug)]
pub enum RotationPolicyCommand {
    /// Show the policy of a key
    Show(NameArg),
    /// Replace the policy of a key
    Set(SetRotationPolicy),
}

/// A whole policy. Durations are ISO 8601, such as P90D, P18M or P2Y, and at least 28 days.
#[derive(Args, Debug)]
pub struct SetRotationPolicy {
    #[command(flatten)]
    key: NameArg,
    /// How long a version made by rotation lives
    #[arg(long, value_name = "DURATION", value_parser = values::period)]
    expires_after: Option<String>,
    /// Rotate this long after a version was made
    #[arg(long, value_name = "DURATION", value_parser = values::period, conflicts_with = "rotate_before_expiry")]
    rotate_after: Option<String>,
    /// Rotate this long before a version expires
    #[arg(long, value_name = "DURATION", value_parser = values::period)]
    rotate_before_expiry: Option<String>,
    /// Take the policy away
    #[arg(long, conflicts_with_all = ["expires_after", "rotate_after", "rotate_before_expiry"])]
    clear: bool,
}

pub(super) async fn run(
    command: RotationPolicyCommand,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let (name, method, body) = match command {
        RotationPolicyCommand::Show(NameArg { name }) => (name, Method::GET, None),
        RotationPolicyCommand::Set(args) => {
            let body = args.body()?;
            (args.key.name, Method::PUT, Some(body))
        }
    };
    let policy: Answer<RotationPolicyReply> =
        connection.call(method, &format!("/keys/{name}/rotationpolicy"), body.as_ref()).await?;
    show(&policy.json, &facts(&policy.meaning), connection.format(), around)
}

impl SetRotationPolicy {
    fn body(&self) -> Result<Value, Error> {
        let trigger = match (&self.rotate_after, &self.rotate_before_expiry) {
            (Some(after), _) => Some(json!({ "timeAfterCreate": after })),
            (None, Some(before)) => Some(json!({ "timeBeforeExpiry": before })),
            (None, None) => None,
        };
        if trigger.is_none() && self.expires_after.is_none() && !self.clear {
            return Err(Error::Usage("the policy would be empty; if it is to be taken away, give --clear".to_owned()));
        }
        let actions: Vec<Value> =
            trigger.into_iter().map(|trigger| json!({ "trigger": trigger, "action": { "type": "Rotate" } })).collect();
        let attributes: Map<String, Value> =
            self.expires_after.iter().map(|expiry| ("expiryTime".to_owned(), json!(expiry))).collect();
        Ok(json!({ "lifetimeActions": actions, "attributes": attributes }))
    }
}

fn facts(policy: &RotationPolicyReply) -> Table {
    let actions = policy.lifetime_actions.iter().map(|action| {
        let when = match (&action.trigger.time_after_create, &action.trigger.time_before_expiry) {
            (Some(after), _) => format!("{after} after creation"),
            (None, Some(before)) => format!("{before} before expiry"),
            (None, None) => "never".to_owned(),
        };
        ("Action", Some(format!("{}, {when}", action.action.kind)))
    });
    let attributes = [
        ("Versions live", policy.attributes.expiry_time.clone()),
        ("Created", policy.attributes.created.map(time)),
        ("Updated", policy.attributes.updated.map(time)),
    ];
    Table::facts(actions.chain(attributes))
}
