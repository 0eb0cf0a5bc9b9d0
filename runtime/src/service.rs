//! A service as a value: what it serves, what it runs, what its health is.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::admin::Metrics;
use crate::health::Health;
use crate::shutdown::Shutdown;
use crate::task::{self, OnError};

type Made = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

struct Planned {
    name: &'static str,
    policy: OnError,
    make: Box<dyn FnMut(Shutdown) -> Made + Send>,
}

/// Everything a service consists of, not running yet.
pub struct Service {
    name: &'static str,
    grpc: Option<Routes>,
    http: Option<Router>,
    health: Health,
    metrics: Vec<Metrics>,
    tasks: Vec<Planned>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tasks: Vec<_> = self.tasks.iter().map(|t| t.name).collect();
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("tasks", &tasks)
            .finish()
    }
}

impl Service {
    /// A service without parts.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            grpc: None,
            http: None,
            health: Health::new(),
            metrics: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// Its gRPC services.
    #[must_use]
    pub fn grpc(mut self, routes: Routes) -> Self {
        self.grpc = Some(routes);
        self
    }

    /// Its HTTP routes, for the service that faces users.
    #[must_use]
    pub fn http(mut self, router: Router) -> Self {
        self.http = Some(router);
        self
    }

    /// A health check; its error says what is missing.
    #[must_use]
    pub fn check<F, A>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.health.add(name, check);
        self
    }

    /// Metrics to show on the admin port.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics.push(metrics);
        self
    }

    /// A task that runs as long as the service does. It is made anew when the
    /// policy restarts it.
    #[must_use]
    pub fn task<M, F, E>(mut self, name: &'static str, policy: OnError, mut make: M) -> Self
    where
        M: FnMut(Shutdown) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let make = Box::new(move |shutdown| {
            let future = make(shutdown);
            Box::pin(async move { future.await.map_err(|e| e.to_string()) }) as Made
        });
        self.tasks.push(Planned { name, policy, make });
        self
    }

    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its checks, for a process that reports on several services.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Its metrics, likewise.
    pub fn all_metrics(&self) -> &[Metrics] {
        &self.metrics
    }

    /// Takes the gRPC routes out, to serve them on a socket or in the process.
    pub fn take_grpc(&mut self) -> Option<Routes> {
        self.grpc.take()
    }

    /// Takes the HTTP routes out.
    pub fn take_http(&mut self) -> Option<Router> {
        self.http.take()
    }

    /// Starts the tasks. They are told of the shutdown and then have
    /// [`Running::end`]'s grace period.
    pub fn start(self, shutdown: &Shutdown) -> Running {
        let tasks = self
            .tasks
            .into_iter()
            .map(|t| {
                (
                    t.name,
                    task::spawn(t.name, t.policy, shutdown.clone(), t.make),
                )
            })
            .collect();
        Running {
            name: self.name,
            tasks,
        }
    }
}

/// A service whose tasks run.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Running {
    /// Waits until every task has ended, at most `grace` (all together); what
    /// is left then is dropped and named in the log.
    pub async fn end(self, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        for (task, mut handle) in self.tasks {
            if tokio::time::timeout_at(deadline, &mut handle)
                .await
                .is_err()
            {
                handle.abort();
                tracing::warn!(service = self.name, task, "task did not end in time");
            }
        }
    }
}
