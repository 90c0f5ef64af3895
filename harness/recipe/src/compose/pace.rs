//! How often containers are checked for health.
//!
//! Swarm takes a task for running when its first check has passed, and that comes one interval after the start: a
//! recipe that checks every 30 s costs each convergence up to 30 s. In a run the interval is shortened, and the retries
//! are raised, so that an app has as much time to become healthy as before.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Project, duration};

/// The interval in a run.
pub const SHORT: Duration = Duration::from_secs(2);

/// Docker's own interval and retries: `defaultProbeInterval` and `defaultProbeRetries` in moby's `daemon/health.go`.
const DEFAULT: Check = Check {
    interval: Duration::from_secs(30),
    retries: 3,
};

/// A healthcheck, as far as its pace goes. Zero is what it leaves to the image, or to Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Check {
    /// How long after a check the next one comes.
    pub interval: Duration,
    /// After how many failures in a row a container is unhealthy.
    pub retries: u64,
}

impl Check {
    /// Returns the check, where it leaves something open as `other` has it.
    fn or(self, other: Self) -> Self {
        Self {
            interval: if self.interval.is_zero() {
                other.interval
            } else {
                self.interval
            },
            retries: if self.retries == 0 {
                other.retries
            } else {
                self.retries
            },
        }
    }

    /// Returns what a run makes of it; `None` where it is short enough.
    fn shortened(self) -> Option<Self> {
        if self.interval <= SHORT {
            return None;
        }
        let patience = self.interval.as_nanos() * u128::from(self.retries);
        let retries = patience.div_ceil(SHORT.as_nanos());
        Some(Self {
            interval: SHORT,
            retries: u64::try_from(retries).unwrap_or(u64::MAX),
        })
    }
}

/// How often containers are checked for health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pace {
    /// As the recipe and its images say.
    #[default]
    AsShipped,
    /// Every [`SHORT`] where it would be longer. What is known of the checks that images bring is here, by the name
    /// that the recipe has for them; of others nothing is changed.
    Short(BTreeMap<String, Check>),
}

/// A healthcheck that is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortened {
    was: Check,
    now: Check,
}

impl Shortened {
    /// Returns what is deployed otherwise than the recipe says, for the service of this name.
    #[must_use]
    pub fn said(&self, service: &str) -> String {
        format!(
            "service `{service}` is checked for health every {} s instead of every {} s, and unhealthy after {} \
             failures instead of {}",
            self.now.interval.as_secs_f64(),
            self.was.interval.as_secs_f64(),
            self.now.retries,
            self.was.retries
        )
    }
}

impl Project {
    /// Returns the services whose healthcheck is shortened at `pace`, by name.
    #[must_use]
    pub fn shortened(&self, pace: &Pace) -> BTreeMap<String, Shortened> {
        of(&self.document, pace)
    }

    /// Returns how long each service may take to start before a failing check counts, where the recipe says so.
    #[must_use]
    pub fn start_periods(&self) -> BTreeMap<String, Duration> {
        let services = self.document.get("services").and_then(Value::as_object);
        let services = services.into_iter().flatten();
        services
            .filter_map(|(name, service)| {
                let period = service.get("healthcheck")?.get("start_period")?.as_str()?;
                Some((name.clone(), duration::parse(period)?))
            })
            .collect()
    }

    /// Returns the images that may have a say in how their services are checked: what the recipe leaves open, Docker
    /// takes from them.
    #[must_use]
    pub fn images_of_checks(&self) -> Vec<String> {
        let services = self.document.get("services").and_then(Value::as_object);
        let checked = services.into_iter().flatten();
        let mut images: Vec<String> = checked
            .filter(|(_, service)| !matches!(tested(service), Tested::Never))
            .filter_map(|(_, service)| Some(service.get("image")?.as_str()?.to_owned()))
            .collect();
        images.sort();
        images.dedup();
        images
    }
}

/// Who says how a service is checked.
enum Tested {
    Never,
    ByRecipe,
    ByImage,
}

fn tested(service: &Value) -> Tested {
    let Some(check) = service.get("healthcheck") else {
        return Tested::ByImage;
    };
    let test = check.get("test").and_then(Value::as_array);
    let first = test.and_then(|test| test.first()).and_then(Value::as_str);
    match first {
        _ if check.get("disable") == Some(&Value::Bool(true)) => Tested::Never,
        Some("NONE") => Tested::Never,
        Some(_) => Tested::ByRecipe,
        None => Tested::ByImage,
    }
}

fn of(document: &Value, pace: &Pace) -> BTreeMap<String, Shortened> {
    let Pace::Short(images) = pace else {
        return BTreeMap::new();
    };
    let services = document.get("services").and_then(Value::as_object);
    let services = services.into_iter().flatten();
    services
        .filter_map(|(name, service)| Some((name.clone(), one(service, images)?)))
        .collect()
}

fn one(service: &Value, images: &BTreeMap<String, Check>) -> Option<Shortened> {
    let image = service.get("image").and_then(Value::as_str);
    let known = image.and_then(|image| images.get(image)).copied();
    let of_image = match tested(service) {
        Tested::Never => return None,
        Tested::ByImage => known?,
        // Docker takes from the image whatever the spec leaves open, the test or not: `merge` in moby's
        // `daemon/commit.go`. What is not known of it is taken for Docker's default.
        Tested::ByRecipe => known.unwrap_or_default(),
    };
    let check = service.get("healthcheck");
    let key = |key: &str| check.and_then(|check| check.get(key));
    let interval = match key("interval") {
        None | Some(Value::Null) => Duration::ZERO,
        Some(text) => duration::parse(text.as_str()?)?,
    };
    let own = Check {
        interval,
        retries: key("retries").and_then(Value::as_u64).unwrap_or_default(),
    };
    let was = own.or(of_image).or(DEFAULT);
    let now = was.shortened()?;
    Some(Shortened { was, now })
}

/// Shortens the healthchecks of `document`, and says so.
pub(super) fn shorten(document: &mut Value, pace: &Pace, deviations: &mut Vec<String>) {
    for (name, shortened) in of(document, pace) {
        let Some(service) = entry(document, &name) else {
            continue;
        };
        let check = service.entry("healthcheck").or_insert_with(|| json!({}));
        if check.is_null() {
            *check = json!({});
        }
        check["interval"] = format!("{}s", shortened.now.interval.as_secs()).into();
        check["retries"] = shortened.now.retries.into();
        deviations.push(shortened.said(&name));
    }
}

fn entry<'a>(
    document: &'a mut Value,
    service: &str,
) -> Option<&'a mut serde_json::Map<String, Value>> {
    let services = document.get_mut("services")?;
    services.get_mut(service)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(images: &[(&str, u64, u64)]) -> Pace {
        let check = |interval, retries| Check {
            interval: Duration::from_secs(interval),
            retries,
        };
        Pace::Short(
            images
                .iter()
                .map(|(image, interval, retries)| ((*image).to_owned(), check(*interval, *retries)))
                .collect(),
        )
    }

    /// Returns what becomes of a service's healthcheck, and what is said of it.
    fn shortened(service: &Value, pace: &Pace) -> (Value, Vec<String>) {
        let mut document = json!({"services": {"app": service}});
        let mut said = Vec::new();
        shorten(&mut document, pace, &mut said);
        (document["services"]["app"]["healthcheck"].take(), said)
    }

    #[test]
    fn a_long_interval_becomes_short_and_the_patience_stays() {
        let test = json!(["CMD", "true"]);
        for (check, interval, retries) in [
            (
                json!({"test": test, "interval": "30s", "retries": 10}),
                "2s",
                150,
            ),
            // Docker's defaults.
            (json!({"test": test}), "2s", 45),
            (
                json!({"test": test, "interval": "0s", "retries": 0}),
                "2s",
                45,
            ),
            (
                json!({"test": test, "interval": "1m30s", "retries": 1}),
                "2s",
                45,
            ),
            // Rounded up: no less patience than before.
            (
                json!({"test": test, "interval": "2500ms", "retries": 1}),
                "2s",
                2,
            ),
            (
                json!({"test": test, "interval": "3s", "timeout": "9s", "start_period": "1m"}),
                "2s",
                5,
            ),
        ] {
            let (now, said) = shortened(&json!({"image": "x", "healthcheck": check}), &short(&[]));
            assert_eq!(
                (&now["interval"], &now["retries"]),
                (&interval.into(), &retries.into()),
                "{check}"
            );
            for kept in ["test", "timeout", "start_period"] {
                assert_eq!(now.get(kept), check.get(kept));
            }
            assert_eq!(said.len(), 1);
        }
    }

    #[test]
    fn what_is_short_disabled_or_not_checked_stays_as_it_is() {
        let test = json!(["CMD", "true"]);
        for check in [
            json!({"test": test, "interval": "2s"}),
            json!({"test": test, "interval": "100ms", "retries": 1}),
            json!({"disable": true, "interval": "30s"}),
            json!({"test": ["NONE"], "interval": "30s"}),
            // No image that is known to check.
            json!({"interval": "30s"}),
            Value::Null,
        ] {
            let (now, said) = shortened(&json!({"image": "x", "healthcheck": check}), &short(&[]));
            assert_eq!((now, said.len()), (check, 0));
        }
        let check = json!({"test": test, "interval": "30s"});
        let service = json!({"image": "x", "healthcheck": check});
        assert_eq!(shortened(&service, &Pace::AsShipped).0, check);
    }

    #[test]
    fn the_check_of_an_image_is_shortened_and_its_test_stays_with_it() {
        let pace = short(&[("x", 30, 4), ("default", 0, 0), ("fast", 1, 9)]);
        let check = |image: &str| shortened(&json!({"image": image}), &pace).0;
        assert_eq!(check("x"), json!({"interval": "2s", "retries": 60}));
        assert_eq!(check("default"), json!({"interval": "2s", "retries": 45}));
        assert_eq!(check("fast"), Value::Null);
        assert_eq!(check("other"), Value::Null);
        // The recipe's own keys count before the image's, and the image's before Docker's.
        let service = json!({"image": "x", "healthcheck": {"interval": "10s", "timeout": "5s"}});
        let (now, said) = shortened(&service, &pace);
        assert_eq!(
            now,
            json!({"interval": "2s", "timeout": "5s", "retries": 20})
        );
        assert!(
            said[0].contains("every 2 s instead of every 10 s"),
            "{said:?}"
        );
        let own = json!({"image": "x", "healthcheck": {"test": ["CMD", "a"], "interval": "10s"}});
        assert_eq!(shortened(&own, &pace).0["retries"], 20);
        assert_eq!(
            shortened(
                &json!({"image": "x", "healthcheck": {"disable": true}}),
                &pace
            )
            .1
            .len(),
            0
        );
    }
}
