use super::*;

fn read(yaml: &str) -> Result<Vec<Account>, String> {
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        accounts: Vec<Account>,
    }
    let text = format!("s: {{accounts: {yaml}}}");
    let mut document = runtime::config::Document::parse(&text)?;
    let section: Section = document.section("s");
    document.finish().map_err(|error| error.to_string())?;
    Ok(section.accounts)
}

fn refused(yaml: &str) -> String {
    Accounts::new(read(yaml).unwrap()).unwrap_err().to_string()
}

#[test]
fn a_prometheus_takes_a_name_a_type_and_an_address() {
    let yaml = "[{name: prom, type: prometheus, base-url: 'http://prometheus:9090/'}]";
    let accounts = Accounts::new(read(yaml).unwrap()).unwrap();
    let prom = accounts.named("prom").unwrap();
    assert_eq!(prom.address().unwrap(), "http://prometheus:9090");
    assert_eq!(prom.scope_label, "instance");
    let names: Vec<_> = accounts
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    assert_eq!(names, ["prom", "local"]);
}

#[test]
fn names_in_the_words_of_kayentas_configuration_are_read_too() {
    let yaml = "[{name: p, type: prometheus, baseUrl: 'http://p', bearerToken: 'env:T', supportedTypes: [METRICS_STORE]}]";
    assert!(read(yaml).unwrap()[0].bearer_token.is_some());
}

#[test]
fn what_is_shown_has_neither_a_secret_nor_where_it_is() {
    let yaml = "[{name: d, type: datadog, api-key: 'env:DD_API', application-key: 'file:/run/dd'}]";
    let accounts = Accounts::new(read(yaml).unwrap()).unwrap();
    let shown = accounts.named("d").unwrap().shown();
    let expected = json!({
        "name": "d", "type": "datadog", "supportedTypes": ["METRICS_STORE"], "locations": [],
        "recommendedLocations": [], "endpoint": {"baseUrl": "https://api.datadoghq.com"},
    });
    assert_eq!(shown, expected);
}

#[test]
fn a_secret_in_the_open_is_refused_without_repeating_it() {
    let fault = read("[{name: p, type: prometheus, base-url: 'http://p', password: hunter2}]");
    let fault = fault.unwrap_err();
    assert!(
        fault.contains("by reference") && !fault.contains("hunter2"),
        "{fault}"
    );
}

#[test]
fn accounts_that_cannot_be_used_say_which_field_it_is() {
    for (yaml, text) in [
        (
            "[{name: p, type: prometheus}]",
            "canary-judge.accounts.p.base-url: is missing",
        ),
        (
            "[{name: p, type: prometheus, base-url: nowhere}]",
            "is no address",
        ),
        (
            "[{name: p, type: prometheus, base-url: 'file:///etc'}]",
            "is no address of HTTP",
        ),
        (
            "[{name: p, type: prometheus, base-url: 'http://u:p@h'}]",
            "holds a user or password",
        ),
        (
            "[{name: p, type: prometheus, base-url: 'http://h?a=b'}]",
            "holds a query",
        ),
        ("[{name: c, type: cloudwatch}]", "so is region"),
        (
            "[{name: c, type: cloudwatch, region: eu}]",
            "c.access-key-id: is missing",
        ),
        (
            "[{name: d, type: datadog}]",
            "d.api-key: is missing; datadog asks for it",
        ),
        (
            "[{name: n, type: newrelic, api-key: 'env:K'}]",
            "n.account-id: is missing",
        ),
        (
            "[{name: p, type: prometheus, base-url: 'http://p', username: u, bearer-token: 'env:T'}]",
            "keep one of username",
        ),
        (
            "[{name: p, type: prometheus, base-url: 'http://p', timeout: 0s}]",
            "timeout: is 0",
        ),
        (
            "[{name: p, type: prometheus, base-url: 'http://p', supported-types: [OBJECT_STORE]}]",
            "supported-types: has more than METRICS_STORE",
        ),
        (
            "[{name: local, type: local}, {name: local, type: local}]",
            "\"local\" is there twice",
        ),
        ("[{name: '', type: local}]", "name: is empty"),
    ] {
        let fault = refused(yaml);
        assert!(fault.contains(text), "{yaml}: {fault}");
    }
    let fault = read("[{name: x, type: oracle}]").unwrap_err();
    assert!(
        fault.contains("oracle") && fault.contains("prometheus"),
        "{fault}"
    );
}

#[test]
fn an_account_is_found_by_name_or_by_the_type_of_the_query() {
    let yaml = "[{name: a, type: graphite, base-url: 'http://a'}, {name: b, type: prometheus, base-url: 'http://b'}]";
    let accounts = Accounts::new(read(yaml).unwrap()).unwrap();
    assert_eq!(accounts.of_query("", "prometheus").unwrap().name, "b");
    assert_eq!(accounts.of_query("a", "graphite").unwrap().name, "a");
    let fault = accounts.of_query("c", "graphite").unwrap_err().to_string();
    assert!(
        fault.starts_with("Unable to resolve account 'c'. Known are: a (graphite), b"),
        "{fault}"
    );
    let fault = accounts
        .of_query("a", "prometheus")
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("account 'a', which is of type graphite"),
        "{fault}"
    );
    let fault = accounts.of_query("", "atlas").unwrap_err().to_string();
    assert!(fault.starts_with("no account is of type atlas"), "{fault}");
}
