//! Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

use super::{
    family::{Family, Kind, Labels, Sink},
    histogram::Snapshot,
};

/// A text that is written family by family.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, suffix: &str, labels: Labels<'_>, more: &str, value: f64) {
        let Self(text) = self;
        text.push_str(name);
        text.push_str(suffix);
        text.push('{');
        for (at, (label, value)) in labels.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing to a string never fails.
            let _ = write!(text, "{comma}{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(text, "{more}}} {value}");
    }
}

impl Sink for Text {
    fn family(&mut self, family: &'static Family) {
        let Family { name, kind, help } = family;
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, family: &'static Family, labels: Labels<'_>, value: f64) {
        self.line(family.name, "", labels, "", value);
    }

    fn histogram(&mut self, family: &'static Family, labels: Labels<'_>, snapshot: &Snapshot) {
        let name = family.name;
        let count = whole(snapshot.count);
        for (bound, reached) in &snapshot.up_to {
            let le = format!(",le=\"{bound}\"");
            self.line(name, "_bucket", labels, &le, whole(*reached));
        }
        self.line(name, "_bucket", labels, ",le=\"+Inf\"", count);
        self.line(name, "_sum", labels, "", snapshot.sum);
        self.line(name, "_count", labels, "", count);
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format has only floats")]
pub(super) fn whole(count: u64) -> f64 {
    count as f64
}

/// Addresses and names hold nothing that needs it; whoever adds another label need not know.
fn escaped(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    escaped.replace('\n', "\\n")
}
