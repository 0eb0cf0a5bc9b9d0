//! A router that remembers its routes: what the OpenAPI document lists is what
//! is served, by construction.

use axum::Router;
use axum::handler::Handler;
use axum::routing::MethodRouter;

use crate::Gateway;

/// A route as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Lower case.
    pub(crate) method: &'static str,
    /// As axum writes it: `{name}`, `{*rest}`.
    pub(crate) path: &'static str,
    /// `<controller>.<function>`
    pub(crate) handler: String,
}

/// The handlers of one path.
pub(crate) struct Methods {
    router: MethodRouter<Gateway>,
    handlers: Vec<(&'static str, &'static str)>,
}

macro_rules! methods {
    ($($name:ident),*) => {
        $(
            /// Begins a path's handlers with this method.
            pub(crate) fn $name<H: Handler<T, Gateway>, T: 'static>(handler: H) -> Methods {
                Methods {
                    router: MethodRouter::new(),
                    handlers: Vec::new(),
                }
                .$name(handler)
            }
        )*

        impl Methods {
            $(
                #[allow(dead_code, reason = "not every method follows another")]
                pub(crate) fn $name<H: Handler<T, Gateway>, T: 'static>(mut self, handler: H) -> Self {
                    self.handlers.push((stringify!($name), std::any::type_name::<H>()));
                    self.router = self.router.$name(handler);
                    self
                }
            )*
        }
    };
}

methods!(get, post, put, patch, delete);

/// Routes with what they are.
pub(crate) struct Routes {
    pub(crate) router: Router<Gateway>,
    pub(crate) operations: Vec<Operation>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            router: Router::new(),
            operations: Vec::new(),
        }
    }

    pub(crate) fn route(mut self, path: &'static str, methods: Methods) -> Self {
        for (method, handler) in methods.handlers {
            self.operations.push(Operation {
                method,
                path,
                handler: short(handler),
            });
        }
        self.router = self.router.route(path, methods.router);
        self
    }
}

/// The last two parts of a function's path.
fn short(name: &str) -> String {
    let mut parts = name.rsplit("::");
    let function = parts.next().unwrap_or_default();
    let module = parts.next().unwrap_or_default();
    format!("{module}.{function}")
}
