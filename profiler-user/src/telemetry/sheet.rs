//! Numbers with names, help texts and labels → OpenMetrics text, by the Prometheus project's own encoder.

use std::fmt;
use std::sync::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Before every name.
const PREFIX: &str = "flamekeeper";

/// One number with its labels.
pub(super) type Row<'a, const N: usize, V> = ([(&'static str, &'a str); N], V);

/// A name without prefix and `_total`, and what it means.
#[derive(Clone, Copy)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// The text of everything that is put on a sheet.
pub(super) fn text(
    fill: impl FnOnce(&mut Sheet<'_>) -> fmt::Result + Send + 'static,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Once(Mutex::new(Some(fill)))));
    let mut text = String::with_capacity(16 << 10);
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The encoder hands out its sheet only to collectors, which are asked again and again; ours is asked once.
struct Once<F>(Mutex<Option<F>>);

impl<F> fmt::Debug for Once<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl<F: FnOnce(&mut Sheet<'_>) -> fmt::Result + Send + 'static> Collector for Once<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let fill = self.0.lock().map_err(|_| fmt::Error)?.take().ok_or(fmt::Error)?;
        fill(&mut Sheet(encoder))
    }
}

/// What metrics are written on.
pub(super) struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// A number that only grows.
    pub(super) fn counter(&mut self, metric: Metric, value: impl EncodeCounterValue) -> fmt::Result {
        let Metric { name, help } = metric;
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// The same, one for each combination of labels.
    pub(super) fn counters<'a, const N: usize, V: EncodeCounterValue>(
        &mut self,
        metric: Metric,
        rows: impl IntoIterator<Item = Row<'a, N, V>>,
    ) -> fmt::Result {
        let Metric { name, help } = metric;
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, metric: Metric, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauge_if_known(metric, Some(value))
    }

    /// The same, without a row for what is not known.
    pub(super) fn gauge_if_known(
        &mut self,
        metric: Metric,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let Metric { name, help } = metric;
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    /// The same, one for each combination of labels.
    pub(super) fn gauges<'a, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        metric: Metric,
        rows: impl IntoIterator<Item = Row<'a, N, V>>,
    ) -> fmt::Result {
        let Metric { name, help } = metric;
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// 1 for the state that is, 0 for the others.
    pub(super) fn state(
        &mut self,
        metric: Metric,
        states: impl IntoIterator<Item = &'static str>,
        current: &str,
    ) -> fmt::Result {
        let rows = states.into_iter().map(|state| ([("state", state)], u64::from(state == current)));
        self.gauges(metric, rows)
    }

    /// Facts as labels, with the value 1; the name gets `_info`.
    pub(super) fn info<const N: usize>(
        &mut self,
        metric: Metric,
        labels: &[(&'static str, &str); N],
    ) -> fmt::Result {
        let Metric { name, help } = metric;
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }
}
