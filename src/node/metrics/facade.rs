//! The `metrics` crate, which passes figures on to whatever exporter the app has installed.

use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use super::{
    family::{Family, Kind, Labels, Sink},
    histogram::Snapshot,
};

/// Passes each figure on. Histograms do that themselves, time by time.
pub(super) struct Facade;

impl Sink for Facade {
    fn family(&mut self, family: &'static Family) {
        match family.kind {
            Kind::Gauge => describe_gauge!(family.name, family.help),
            Kind::Counter => describe_counter!(family.name, family.help),
            Kind::Histogram => {
                describe_histogram!(family.name, metrics::Unit::Seconds, family.help);
            }
        }
    }

    fn sample(&mut self, family: &'static Family, labels: Labels<'_>, value: f64) {
        let labels = owned(labels);
        match family.kind {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            Kind::Counter => counter!(family.name, labels).absolute(value as u64),
            Kind::Gauge | Kind::Histogram => gauge!(family.name, labels).set(value),
        }
    }

    fn histogram(&mut self, _: &'static Family, _: Labels<'_>, _: &Snapshot) {}
}

pub(super) fn histogram(family: &'static Family, labels: Labels<'_>) -> metrics::Histogram {
    metrics::histogram!(family.name, owned(labels))
}

fn owned(labels: Labels<'_>) -> Vec<Label> {
    let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
    labels.iter().map(label).collect()
}
