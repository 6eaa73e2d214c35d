//! Tables of energies: the data file `energy.toml`, each entry with its source.

use releqc_runtime::accel::cost::EnergyModel;
use serde::Deserialize;
use std::sync::OnceLock;

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Energies {
    /// Its name.
    pub name: String,
    /// What is special about it.
    pub note: String,
    /// Its entries, in the order of the file.
    pub entries: Vec<EnergyEntry>,
    /// The same as constants of the cost.
    pub model: EnergyModel,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyEntry {
    /// Constant of [`EnergyModel`].
    pub event: String,
    /// Picojoules.
    pub value: f64,
    /// Process node in nm.
    pub node: u32,
    /// Where it was published; none for an assumption.
    pub source: Option<String>,
    /// Place in the source, or what is assumed.
    pub place: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    preset: Vec<Preset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    name: String,
    note: String,
    entries: Vec<EnergyEntry>,
}

/// The tables of the data file: those that name every constant. A test holds that none is left out.
pub fn energies() -> &'static [Energies] {
    static TABLES: OnceLock<Vec<Energies>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let presets =
            toml::from_str::<File>(include_str!("energy.toml")).map_or_else(|_| Vec::new(), |file| file.preset);
        presets.into_iter().filter_map(table).collect()
    })
}

fn table(preset: Preset) -> Option<Energies> {
    let value = |name: &str| preset.entries.iter().find(|entry| entry.event == name).map(|entry| entry.value);
    let mut values = [0.0; 10];
    for (slot, (name, _)) in values.iter_mut().zip(EnergyModel::default().entries()) {
        *slot = value(name).filter(|value| value.is_finite() && *value >= 0.0)?;
    }
    let model = EnergyModel::from_values(values);
    Some(Energies { name: preset.name, note: preset.note, entries: preset.entries, model })
}
