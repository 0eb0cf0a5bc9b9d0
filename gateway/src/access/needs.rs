//! What each handler needs of who asks, and what its answer loses: one line each.
//! A handler that is in no line is an administrator's.
//! Source: `fiat: FiatPermissionEvaluator` and the `@PreAuthorize` of Gate, Orca, Front50.

use authorization::Permission::{self, Execute, Read, Write};

/// What a handler needs of who asks. A path that names an account needs READ of it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be logged in, where the path needs it at all.
    Anybody,
    /// A credential that was not narrowed to less than READ; trigger asks for READ of the build server.
    BuildServer,
    /// To be an administrator.
    Admin,
    /// A permission on the application that the path names.
    Application(Permission),
    /// The same where the query names one; else to be an administrator.
    Query(Permission),
    /// A permission on the application of the path, unless it is `*`.
    Search,
    /// A permission on the application of the execution that the path names.
    Execution(Permission),
    /// The same of each execution in `ids` of the query.
    Executions(Permission),
    /// A permission on the application of the stored pipeline that the path names.
    Pipeline(Permission),
    /// A permission on the body's application and on that of the stored pipeline whose id the
    /// body or the path gives, and of whoever its triggers run as.
    Definition(Permission),
    /// The same of each element of the body.
    Definitions,
    /// A permission on the application that the body names, if it names one.
    Body(Permission),
    /// WRITE on the application of the body, of the path, and of each of its `job`s.
    Task,
    /// WRITE on the applications among the scopes of the body and of the stored template.
    Template,
    /// To own the environment that the path names.
    Environment,
    /// WRITE on the application of the cluster in `account/cluster/image`.
    Cluster,
    /// A permission on the applications of the canary config that the path names, and of the body: READ on one of them,
    /// any other on all.
    CanaryConfig(Permission),
    /// EXECUTE on the application of the run that the query and the body describe, READ on the config that the path names.
    CanaryStart,
    /// A permission on the application of the canary run that the path names, or whose pairs it names.
    CanaryRun(Permission),
    /// READ on the application of the instance that the path names.
    Instance,
}

/// What an answer loses of what the caller may not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lose {
    /// Nothing.
    Nothing,
    /// Elements of whose application, under this key, READ is missing.
    Applications(&'static str),
    /// Elements of whose list of applications, under this key, READ is missing on every one.
    EachApplications(&'static str),
    /// Elements of whose account, under this key, READ is missing.
    Accounts(&'static str),
    /// Elements with an `account` or an `application` that may not be read.
    Places,
    /// Entries of an object, by account.
    ByAccount,
    /// The same below `clusters`.
    Clusters,
    /// Accounts in `accounts` of each element, and elements without any left.
    Balancers,
    /// Places in `results` of each element.
    Results,
    /// Places, and applications in `applications` of each.
    ProjectClusters,
}

use Lose::{
    Accounts, Applications, Balancers, ByAccount, Clusters, EachApplications, Nothing, Places,
    ProjectClusters, Results,
};
use Need::{
    Admin, Anybody, Application, Body, BuildServer, CanaryConfig, CanaryRun, CanaryStart, Cluster,
    Definition, Definitions, Environment, Execution, Executions, Instance, Pipeline, Query, Search,
    Task, Template,
};

/// The line of a handler.
pub(crate) fn needs(handler: &str) -> (Need, Lose) {
    let found = NEEDS.iter().find(|(known, _, _)| *known == handler);
    found.map_or((Admin, Nothing), |(_, need, lose)| (*need, *lose))
}

#[rustfmt::skip] // one line a handler
pub(crate) const NEEDS: &[(&str, Need, Lose)] = &[
    ("admin.force_cancel", Admin, Nothing),
    ("admin.hydrate", Admin, Nothing),
    ("applications.get", Application(Read), Clusters),
    ("applications.history", Application(Read), Nothing),
    ("applications.list", Anybody, Applications("name")),
    ("artifacts.credentials", Anybody, Nothing),
    ("audit.list", Admin, Nothing),
    ("auth.explain", Anybody, Nothing),
    ("auth.logged_out", Anybody, Nothing),
    ("auth.service_accounts", Anybody, Nothing),
    ("auth.user", Anybody, Nothing),
    ("builds.get_by_path", BuildServer, Nothing),
    ("builds.get_by_query", BuildServer, Nothing),
    ("builds.job_by_path", BuildServer, Nothing),
    ("builds.job_by_query", BuildServer, Nothing),
    ("builds.jobs", BuildServer, Nothing),
    ("builds.list_by_path", BuildServer, Nothing),
    ("builds.list_by_query", BuildServer, Nothing),
    ("builds.masters", BuildServer, Nothing),
    ("canaries.cancel", CanaryRun(Execute), Nothing),
    ("canaries.credentials", Anybody, Nothing),
    ("canaries.dry_run", CanaryStart, Nothing),
    ("canaries.executions", Application(Read), Nothing),
    ("canaries.get", CanaryRun(Read), Nothing),
    ("canaries.get_of_config", CanaryRun(Read), Nothing),
    ("canaries.judges", Anybody, Nothing),
    ("canaries.metrics", Anybody, Nothing),
    ("canaries.pairs", CanaryRun(Read), Nothing),
    ("canaries.start", CanaryStart, Nothing),
    ("canaries.start_ad_hoc", CanaryStart, Nothing),
    ("canary_configs.create", CanaryConfig(Write), Nothing),
    ("canary_configs.delete", CanaryConfig(Write), Nothing),
    ("canary_configs.get", CanaryConfig(Read), Nothing),
    ("canary_configs.list", Anybody, EachApplications("applications")),
    ("canary_configs.update", CanaryConfig(Write), Nothing),
    ("canary_configs.versions", CanaryConfig(Read), Nothing),
    ("clusters.get", Application(Read), Nothing),
    ("clusters.names", Application(Read), ByAccount),
    ("clusters.of_account", Application(Read), Nothing),
    ("clusters.server_group", Application(Read), Nothing),
    ("clusters.server_groups", Application(Read), Nothing),
    ("clusters.target", Application(Read), Nothing),
    ("configured.deployment_monitors", Anybody, Nothing),
    ("configured.jobs", Anybody, Nothing),
    ("configured.webhooks", Anybody, Nothing),
    ("credentials.get", Anybody, Nothing),
    ("credentials.list", Anybody, Accounts("name")),
    ("environments.create", Admin, Nothing),
    ("environments.delete", Environment, Nothing),
    ("environments.get", Anybody, Nothing),
    ("environments.list", Anybody, Nothing),
    ("environments.of_application", Application(Read), Nothing),
    ("environments.update", Environment, Nothing),
    ("execution_log.get", Execution(Read), Nothing),
    ("executions.list", Anybody, Applications("application")),
    ("executions.of_application", Application(Read), Nothing),
    ("executions.search", Search, Applications("application")),
    ("failed_stages.list", Anybody, Applications("application")),
    ("images.find", Anybody, Nothing),
    ("images.tags", Anybody, Nothing),
    ("instances.console", Instance, Nothing),
    ("instances.get", Instance, Nothing),
    ("jobs.get", Application(Read), Nothing),
    // Each event is asked about by itself.
    ("live.stream", Anybody, Nothing),
    ("load_balancers.get", Anybody, Places),
    ("load_balancers.list", Anybody, Balancers),
    ("load_balancers.named", Anybody, Balancers),
    ("load_balancers.of_application", Application(Read), Places),
    ("login.begin", Anybody, Nothing),
    ("login.callback", Anybody, Nothing),
    ("login.form", Anybody, Nothing),
    ("login.logout", Anybody, Nothing),
    ("notifications.delete", Application(Write), Nothing),
    ("notifications.get", Application(Read), Nothing),
    ("notifications.metadata", Anybody, Nothing),
    ("notifications.save", Application(Write), Nothing),
    ("openapi.document", Anybody, Nothing),
    ("pipeline_configs.all", Anybody, Applications("application")),
    ("pipeline_configs.delete", Application(Write), Nothing),
    ("pipeline_configs.get", Application(Read), Nothing),
    ("pipeline_configs.history", Pipeline(Read), Applications("application")),
    ("pipeline_configs.of_application", Application(Read), Nothing),
    ("pipeline_configs.save", Definition(Write), Nothing),
    ("pipeline_configs.strategies", Application(Read), Nothing),
    ("pipeline_configs.update", Definition(Write), Nothing),
    ("pipeline_sets.bulk_save", Definitions, Nothing),
    ("pipeline_sets.rename", Definition(Write), Nothing),
    ("pipeline_sets.reorder", Definition(Write), Nothing),
    ("pipeline_templates.create", Template, Nothing),
    ("pipeline_templates.delete", Template, Nothing),
    ("pipeline_templates.dependents", Anybody, Applications("application")),
    ("pipeline_templates.get", Anybody, Nothing),
    ("pipeline_templates.list", Anybody, Nothing),
    ("pipeline_templates.plan", Body(Read), Nothing),
    ("pipeline_templates.update", Template, Nothing),
    ("pipeline_templates.versions", Anybody, Nothing),
    ("pipelines.cancel", Execution(Execute), Nothing),
    ("pipelines.cancel_of_application", Execution(Execute), Nothing),
    ("pipelines.decisions", Pipeline(Read), Nothing),
    ("pipelines.decisions_by_name", Query(Read), Nothing),
    ("pipelines.delete", Execution(Write), Nothing),
    // Differs from Spinnaker: READ does not suffice, since an expression sees every value of the context.
    ("pipelines.evaluate", Execution(Execute), Nothing),
    ("pipelines.evaluate_at_stage", Execution(Execute), Nothing),
    ("pipelines.evaluate_body", Execution(Execute), Nothing),
    ("pipelines.evaluate_variables", Execution(Execute), Nothing),
    ("pipelines.fail", Definition(Execute), Nothing),
    ("pipelines.get", Execution(Read), Nothing),
    ("pipelines.pause", Execution(Execute), Nothing),
    ("pipelines.restart_stage", Execution(Execute), Nothing),
    ("pipelines.resume", Execution(Execute), Nothing),
    ("pipelines.start", Application(Execute), Nothing),
    ("pipelines.start_ad_hoc", Definition(Execute), Nothing),
    ("pipelines.start_v2", Application(Execute), Nothing),
    ("pipelines.update_stage", Execution(Execute), Nothing),
    ("projects.clusters", Anybody, ProjectClusters),
    ("projects.get", Anybody, Nothing),
    ("projects.list", Anybody, Nothing),
    ("projects.pipelines", Anybody, Applications("application")),
    ("quarantine.list", Anybody, Places),
    ("quarantine.release", Cluster, Nothing),
    ("search.search", Anybody, Results),
    ("security_groups.all", Anybody, ByAccount),
    ("security_groups.get", Anybody, Nothing),
    ("server_groups.get", Application(Read), Nothing),
    ("server_groups.list", Anybody, Places),
    ("server_groups.managers", Application(Read), Nothing),
    ("server_groups.of_application", Application(Read), Places),
    ("service_accounts.delete", Admin, Nothing),
    ("service_accounts.list", Admin, Nothing),
    ("service_accounts.save", Admin, Nothing),
    ("strategies.all", Anybody, Applications("application")),
    ("strategies.delete", Application(Write), Nothing),
    ("strategies.get", Application(Read), Nothing),
    ("strategies.save", Definition(Write), Nothing),
    ("strategies.update", Definition(Write), Nothing),
    ("tasks.cancel", Execution(Execute), Nothing),
    ("tasks.cancel_many", Executions(Execute), Nothing),
    ("tasks.cancel_of_application", Execution(Execute), Nothing),
    ("tasks.delete", Execution(Write), Nothing),
    ("tasks.details", Execution(Read), Nothing),
    ("tasks.details_of_application", Execution(Read), Nothing),
    // Nobody guesses an id; the application of a task may not be stored yet, or not any more.
    ("tasks.get", Anybody, Nothing),
    ("tasks.get_of_application", Application(Read), Nothing),
    ("tasks.of_application", Application(Read), Nothing),
    ("tasks.start", Task, Nothing),
    ("tasks.start_of_application", Task, Nothing),
    // Whose a token is, is asked by the handlers.
    ("tokens.create", Anybody, Nothing),
    ("tokens.delete", Anybody, Nothing),
    ("tokens.list", Anybody, Nothing),
    ("traffic.get", Query(Read), Nothing),
    ("triggers.release", Pipeline(Execute), Nothing),
    ("triggers.test", Body(Read), Nothing),
    ("triggers.validate_cron", Anybody, Nothing),
    ("ui.file", Anybody, Nothing),
    ("ui.page", Anybody, Nothing),
    ("ui.redirect", Anybody, Nothing),
    ("version.health", Anybody, Nothing),
    ("version.metrics", Anybody, Nothing),
    ("version.root", Anybody, Nothing),
    ("version.version", Anybody, Nothing),
    ("webhooks.receive", Anybody, Nothing),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_handler_has_a_line_and_every_line_a_handler() {
        let served: BTreeSet<String> = crate::rest::operations()
            .into_iter()
            .map(|o| o.handler)
            .collect();
        let lines: Vec<&str> = NEEDS.iter().map(|(handler, _, _)| *handler).collect();
        let mut sorted = lines.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(lines, sorted);
        assert_eq!(served, lines.iter().map(|l| (*l).to_owned()).collect());
        assert_eq!(needs("invented.handler").0, Admin);
    }
}
