//! `strongroom setting`: the pool's settings from the command line.

use clap::{Args, Subcommand};
use model::settings::Setting;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use wire::settings::SettingReply;

use crate::connection::{Answer, Connection};
use crate::error::Error;
use crate::keys::show;
use crate::surroundings::Surroundings;
use crate::text::Table;

/// Everything that can be done with settings.
#[derive(Subcommand, Debug)]
pub enum SettingCommand {
    /// List the settings
    List,
    /// Show one setting
    Show(SettingArg),
    /// Change a setting
    Update(UpdateSetting),
}

/// A setting.
#[derive(Args, Debug)]
pub struct SettingArg {
    /// Name of the setting
    #[arg(value_parser = setting)]
    name: Setting,
}

/// A setting and its new value.
#[derive(Args, Debug)]
pub struct UpdateSetting {
    #[command(flatten)]
    setting: SettingArg,
    /// true or false
    #[arg(action = clap::ArgAction::Set)]
    value: bool,
}

/// Does what `command` says.
pub(crate) async fn run(
    command: SettingCommand,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct All {
        settings: Vec<SettingReply>,
    }
    match command {
        SettingCommand::List => {
            let all: Answer<All> = connection.call(Method::GET, "/settings", None).await?;
            let rows = all.meaning.settings.iter().map(|setting| vec![setting.name.clone(), setting.value.clone()]);
            show(&all.json, &Table::list(&["SETTING", "VALUE"], rows.collect()), connection.format(), around)
        }
        SettingCommand::Show(setting) => {
            let found = connection.call(Method::GET, &setting.path(), None).await?;
            show_one(&found, connection, around)
        }
        SettingCommand::Update(UpdateSetting { setting, value }) => {
            let body = json!({ "value": value.to_string() });
            let changed = connection.call(Method::PATCH, &setting.path(), Some(&body)).await?;
            show_one(&changed, connection, around)
        }
    }
}

impl SettingArg {
    fn path(&self) -> String {
        format!("/settings/{}", self.name.name())
    }
}

fn show_one(
    setting: &Answer<SettingReply>,
    connection: &Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let SettingReply { name, value } = &setting.meaning;
    let table = Table::facts([("Setting", Some(name.clone())), ("Value", Some(value.clone()))]);
    show(&setting.json, &table, connection.format(), around)
}

fn setting(text: &str) -> Result<Setting, String> {
    Setting::parse(text).ok_or_else(|| {
        let names = Setting::ALL.iter().map(|setting| setting.name()).collect::<Vec<_>>().join(", ");
        format!("the settings are {names}")
    })
}
