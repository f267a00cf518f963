//! What a function works with: the settings, the way to AWS, and the clock.

use crate::answer::Endpoint;
use crate::aws::{Aws, AwsError};
use crate::config::{Config, ConfigError};
use crate::epoch::Epoch;
use crate::error::CallError;
use crate::service::{Service, State, Task, Tasks};

/// One for each process.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The settings.
    pub config: Config,
    /// The way to AWS.
    pub aws: Aws,
    /// The clock; tests have their own.
    pub clock: fn() -> Epoch,
}

/// An environment in which a function cannot work.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The way to AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl Plane {
    /// On checked settings, and AWS as the process's environment says.
    pub async fn from_env(config: Config) -> Result<Self, PlaneError> {
        let aws = Aws::from_env(&config).await?;
        Ok(Self {
            config,
            aws,
            clock: Epoch::now,
        })
    }

    /// The time.
    pub fn now(&self) -> Epoch {
        (self.clock)()
    }

    /// How the service stands.
    pub fn state(&self, service: &Service, tasks: &Tasks) -> State {
        service.state(tasks, self.now(), self.config.thresholds.start_timeout)
    }

    /// Where to dial: the configured host, else the public address of the task that began to run last. `None` while no
    /// task runs, or none has an address yet.
    pub async fn endpoint(&self, tasks: &Tasks) -> Result<Option<Endpoint>, CallError> {
        let mut running: Vec<&Task> = tasks.running().collect();
        running.sort_by_key(|task| std::cmp::Reverse(task.since()));
        let at = |address: String| Endpoint {
            address,
            port: self.config.server_port,
        };
        if let Some(host) = &self.config.server_host {
            return Ok((!running.is_empty()).then(|| at(host.clone())));
        }
        for interface in running.iter().filter_map(|task| task.interface.as_ref()) {
            if let Some(address) = self.aws.addresses.public(interface).await? {
                return Ok(Some(at(address.to_string())));
            }
        }
        Ok(None)
    }
}
