//! Rules, clauses and matches: how they combine, and what empty ones mean.

use super::fixtures::*;
use super::*;

fn matches(rules: Vec<Rule>, conn: &Connection) -> bool {
    let allowed = evaluate(conn, [&allow("a", rules.clone())]).is_allowed();
    let denied = !evaluate(conn, [&deny("d", rules)]).is_allowed();
    assert_eq!(
        allowed, denied,
        "a policy matches the same whatever its action is"
    );
    allowed
}

/// A match that holds for [`web`], and one that does not.
fn yes() -> Match {
    ns(&["shop"])
}
fn no() -> Match {
    ns(&["bank"])
}

#[test]
#[rustfmt::skip]
fn combinations() {
    let rows: Vec<(&str, Vec<Rule>, bool)> = vec![
        ("no rules never match",                  never(),                                                    false),
        ("a rule without clauses always matches", always(),                                                   true),
        ("a clause without matches is true",      vec![rule([any([])])],                                      true),
        ("a true clause decides nothing alone",   vec![rule([any([]), any([no()])])],                         false),
        ("an empty match never matches",          vec![rule([any([Match::default()])])],                      false),
        ("an empty match beside one that holds",  vec![rule([any([Match::default(), yes()])])],               true),
        ("a clause of an empty match spoils its rule", vec![rule([any([Match::default()]), any([yes()])])],   false),
        ("matches are OR-ed",                     vec![rule([any([no(), yes()])])],                           true),
        ("no match of a clause holds",            vec![rule([any([no(), no()])])],                            false),
        ("clauses are AND-ed",                    vec![rule([any([yes()]), any([port(&[8080])])])],           true),
        ("the first clause fails",                vec![rule([any([no()]), any([port(&[8080])])])],            false),
        ("the last clause fails",                 vec![rule([any([yes()]), any([port(&[80])])])],             false),
        ("rules are OR-ed, the first holds",      vec![rule([any([yes()])]), rule([any([no()])])],            true),
        ("rules are OR-ed, the last holds",       vec![rule([any([no()])]), rule([any([yes()])])],            true),
        ("no rule holds",                         vec![rule([any([no()])]), rule([any([no()])])],             false),
        ("clauses of different rules stay apart", vec![rule([any([yes()]), any([port(&[80])])]), rule([any([no()]), any([port(&[8080])])])], false),
        ("an always rule beside one that fails",  vec![rule([any([no()])]), Rule::default()],                 true),
        ("from of two sources, to of two ports",  vec![rule([any([no(), yes()]), any([port(&[80]), port(&[8080])])])], true),
    ];
    for (what, rules, expected) in rows {
        assert_eq!(matches(rules, &web()), expected, "{what}");
    }
}

/// A condition that only L7 can check reaches the tunnel as an empty match in an ALLOW (which then cannot match), and is
/// left out of a DENY (which then covers its whole L4 scope).
#[test]
fn http_only_fields_close() {
    let allow_get = allow("get", vec![rule([any([yes()]), any([Match::default()])])]);
    assert_eq!(
        evaluate(&web(), [&allow_get]).reason,
        Reason::NoAllowMatched
    );
    let deny_post = deny("post", vec![rule([any([yes()])])]);
    assert_eq!(
        evaluate(&web(), [&deny_post]).reason,
        Reason::DeniedBy(deny_post.key.clone())
    );
}
