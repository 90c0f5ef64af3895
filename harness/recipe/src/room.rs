//! The room that a resolved project needs on a host.

use serde_json::Value;

use super::trust::size;

/// What a task counts with that reserves no memory: most web applications and databases need less at rest.
const UNSAID: u64 = 256 << 20;

/// Memory and processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Bytes that its tasks reserve; 256 MiB for each that reserves none.
    pub memory: u64,
    /// Billionths of a processor that its tasks reserve.
    pub nano_cpus: u64,
}

impl Room {
    /// Returns the room of a resolved project. A service without a number of replicas counts once.
    #[must_use]
    pub fn of(document: &Value) -> Self {
        let services = document.get("services").and_then(Value::as_object);
        let mut room = Self::default();
        for service in services.into_iter().flat_map(|all| all.values()) {
            let replicas = service.pointer("/deploy/replicas").and_then(Value::as_u64);
            let tasks = replicas.unwrap_or(1);
            let reserved = |key: &str, parse: fn(&str) -> Result<u64, String>| {
                let value = service.pointer(&format!("/deploy/resources/reservations/{key}"))?;
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                parse(&text).ok()
            };
            let memory = reserved("memory", size::bytes).unwrap_or(UNSAID);
            let nano_cpus = reserved("cpus", size::nano_cpus).unwrap_or_default();
            room = room.and(Self {
                memory: memory.saturating_mul(tasks),
                nano_cpus: nano_cpus.saturating_mul(tasks),
            });
        }
        room
    }

    /// Returns the room of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            nano_cpus: self.nano_cpus.saturating_add(other.nano_cpus),
        }
    }

    /// Returns the larger of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            nano_cpus: self.nano_cpus.max(other.nano_cpus),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_task_counts_with_what_it_reserves() {
        let document = json!({"services": {
            "web": {"deploy": {"replicas": 3, "resources": {"reservations": {"memory": "64M", "cpus": "0.5"}}}},
            "db": {"image": "x"},
            "off": {"deploy": {"replicas": 0}},
        }});
        let room = Room::of(&document);
        assert_eq!(room.memory, (3 * 64 + 256) << 20);
        assert_eq!(room.nano_cpus, 1_500_000_000);
        assert_eq!(Room::of(&json!({})), Room::default());
        assert_eq!(room.and(room).nano_cpus, 3_000_000_000);
        assert_eq!(room.or(Room::default()), room);
    }
}
