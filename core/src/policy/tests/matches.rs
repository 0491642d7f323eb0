//! One match against one connection.

use super::fixtures::*;
use super::*;

const YES: bool = true;
const NO: bool = false;

/// Every row is tried in an ALLOW and in a DENY.
fn check(rows: &[(&str, Match, Connection, bool)]) {
    for (what, m, conn, expected) in rows {
        let allowed = evaluate(conn, [&allow("a", when([m.clone()]))]).is_allowed();
        assert_eq!(allowed, *expected, "ALLOW: {what}: {m:?} on {conn:?}");
        let denied = !evaluate(conn, [&deny("d", when([m.clone()]))]).is_allowed();
        assert_eq!(denied, *expected, "DENY: {what}: {m:?} on {conn:?}");
    }
}

#[test]
#[rustfmt::skip]
fn namespaces() {
    check(&[
        ("exact",                          ns(&["shop"]),                web(),   YES),
        ("another",                        ns(&["bank"]),                web(),   NO),
        ("one of several",                 ns(&["bank", "shop"]),        web(),   YES),
        ("exact is the whole string",      ns(&["sho"]),                 web(),   NO),
        ("exact is case-sensitive",        ns(&["Shop"]),                web(),   NO),
        ("prefix",                         ns(&["sh*"]),                 web(),   YES),
        ("prefix equal to the whole",      ns(&["shop*"]),               web(),   YES),
        ("prefix too long",                ns(&["shops*"]),              web(),   NO),
        ("prefix is not a suffix",         ns(&["op*"]),                 web(),   NO),
        ("suffix",                         ns(&["*op"]),                 web(),   YES),
        ("suffix equal to the whole",      ns(&["*shop"]),               web(),   YES),
        ("suffix is not a prefix",         ns(&["*sh"]),                 web(),   NO),
        ("presence",                       ns(&["*"]),                   web(),   YES),
        ("presence, plaintext",            ns(&["*"]),                   plain(), NO),
        ("exact, plaintext",               ns(&["shop"]),                plain(), NO),
        ("negated, equal",                 not_ns(&["shop"]),            web(),   NO),
        ("negated, another",               not_ns(&["bank"]),            web(),   YES),
        ("negated, none may match",        not_ns(&["bank", "shop"]),    web(),   NO),
        ("negated prefix",                 not_ns(&["sh*"]),             web(),   NO),
        ("negated presence",               not_ns(&["*"]),               web(),   NO),
        ("negated, plaintext",             not_ns(&["shop"]),            plain(), YES),
        ("negated presence, plaintext",    not_ns(&["*"]),               plain(), YES),
        ("both, the negated one wins",     all([ns(&["*"]), not_ns(&["shop"])]), web(),   NO),
        ("both, neither excluded",         all([ns(&["*"]), not_ns(&["bank"])]), web(),   YES),
        ("both, plaintext",                all([ns(&["*"]), not_ns(&["bank"])]), plain(), NO),
    ]);
}

#[test]
#[rustfmt::skip]
fn principals() {
    let web_id = "cluster.local/ns/shop/sa/web";
    check(&[
        ("exact",                          principal(&[web_id]),                          web(),   YES),
        ("another account",                principal(&["cluster.local/ns/shop/sa/db"]),   web(),   NO),
        ("another trust domain",           principal(&["other.org/ns/shop/sa/web"]),      web(),   NO),
        ("its trust domain",               principal(&["other.org/ns/shop/sa/web"]),      by("other.org", "shop", "web"), YES),
        ("one of several",                 principal(&["x/ns/a/sa/b", web_id]),           web(),   YES),
        ("prefix of the namespace",        principal(&["cluster.local/ns/shop/*"]),       web(),   YES),
        ("prefix of another namespace",    principal(&["cluster.local/ns/shop2/*"]),      web(),   NO),
        ("suffix of the account",          principal(&["*/sa/web"]),                      web(),   YES),
        ("suffix over trust domains",      principal(&["*/ns/shop/sa/web"]),              by("other.org", "shop", "web"), YES),
        ("suffix of another account",      principal(&["*/sa/db"]),                       web(),   NO),
        ("suffix inside a name",           principal(&["*b"]),                            web(),   YES),
        ("presence",                       principal(&["*"]),                             web(),   YES),
        ("presence, plaintext",            principal(&["*"]),                             plain(), NO),
        ("exact, plaintext",               principal(&[web_id]),                          plain(), NO),
        ("whole SPIFFE ID",                principal(&["spiffe://cluster.local/ns/shop/sa/web"]), web(), YES),
        ("prefix of a whole SPIFFE ID",    principal(&["spiffe://cluster.local/ns/sh*"]), web(),   YES),
        ("whole SPIFFE ID, another",       principal(&["spiffe://cluster.local/ns/shop/sa/db"]), web(), NO),
        ("the scheme is no part of it",    principal(&["*spiffe://cluster.local/ns/shop/sa/web"]), web(), NO),
        ("negated, equal",                 not_principal(&[web_id]),                      web(),   NO),
        ("negated, another",               not_principal(&["x/ns/a/sa/b"]),               web(),   YES),
        ("negated prefix",                 not_principal(&["cluster.local/*"]),           web(),   NO),
        ("negated suffix",                 not_principal(&["*/sa/web"]),                  web(),   NO),
        ("negated presence",               not_principal(&["*"]),                         web(),   NO),
        ("negated presence, plaintext: STRICT", not_principal(&["*"]),                    plain(), YES),
        ("negated, plaintext",             not_principal(&[web_id]),                      plain(), YES),
    ]);
}

#[test]
#[rustfmt::skip]
fn service_accounts() {
    check(&[
        ("equal",                          sa(&["shop/web"]),              web(),   YES),
        ("another account",                sa(&["shop/db"]),               web(),   NO),
        ("another namespace",              sa(&["bank/web"]),              web(),   NO),
        ("one of several",                 sa(&["bank/web", "shop/web"]),  web(),   YES),
        ("in any trust domain",            sa(&["shop/web"]),              by("other.org", "shop", "web"), YES),
        ("plaintext",                      sa(&["shop/web"]),              plain(), NO),
        ("negated, equal",                 not_sa(&["shop/web"]),          web(),   NO),
        ("negated, another",               not_sa(&["shop/db"]),           web(),   YES),
        ("negated, none may match",        not_sa(&["shop/db", "shop/web"]), web(), NO),
        ("negated, plaintext",             not_sa(&["shop/web"]),          plain(), YES),
    ]);
}

#[test]
#[rustfmt::skip]
fn source_addresses() {
    check(&[
        ("inside",                         src(&["10.1.0.0/16"]),          web(),    YES),
        ("outside",                        src(&["10.2.0.0/16"]),          web(),    NO),
        ("host",                           src(&["10.1.2.3/32"]),          web(),    YES),
        ("the host beside it",             src(&["10.1.2.2/32"]),          web(),    NO),
        ("one of several",                 src(&["192.168.0.0/16", "10.0.0.0/8"]), web(), YES),
        ("the destination is not asked",   src(&["10.9.8.7/32"]),          web(),    NO),
        ("all of v4",                      src(&["0.0.0.0/0"]),            web(),    YES),
        ("all of v6 has no v4",            src(&["::/0"]),                 web(),    NO),
        ("all of v4 has no v6",            src(&["0.0.0.0/0"]),            web6(),   NO),
        ("all of v6",                      src(&["::/0"]),                 web6(),   YES),
        ("v6 inside",                      src(&["fd00:1::/32"]),          web6(),   YES),
        ("v6 outside",                     src(&["fd00:2::/32"]),          web6(),   NO),
        ("mapped address in a v4 network", src(&["10.1.0.0/16"]),          mapped(), YES),
        ("mapped address is not v6",       src(&["::/0"]),                 mapped(), NO),
        ("mapped network",                 src(&["::ffff:10.1.0.0/112"]),  web(),    YES),
        ("mapped network, outside",        src(&["::ffff:10.2.0.0/112"]),  web(),    NO),
        ("mapped both",                    src(&["::ffff:10.1.2.3/128"]),  mapped(), YES),
        ("all mapped is all of v4",        src(&["::ffff:0.0.0.0/96"]),    web(),    YES),
        ("plaintext has an address",       src(&["10.1.0.0/16"]),          plain(),  YES),
        ("negated, inside",                not_src(&["10.1.0.0/16"]),      web(),    NO),
        ("negated, outside",               not_src(&["10.2.0.0/16"]),      web(),    YES),
        ("negated, mapped",                not_src(&["10.1.0.0/16"]),      mapped(), NO),
        ("negated, other family",          not_src(&["10.0.0.0/8"]),       web6(),   YES),
        ("a hole in a network",            all([src(&["10.0.0.0/8"]), not_src(&["10.1.0.0/16"])]), web(), NO),
        ("beside a hole",                  all([src(&["10.0.0.0/8"]), not_src(&["10.2.0.0/16"])]), web(), YES),
    ]);
}

#[test]
#[rustfmt::skip]
fn destinations() {
    check(&[
        ("address inside",                 dst(&["10.9.8.0/24"]),          web(),    YES),
        ("address outside",                dst(&["10.9.9.0/24"]),          web(),    NO),
        ("the source is not asked",        dst(&["10.1.2.3/32"]),          web(),    NO),
        ("v6 address",                     dst(&["fd00:9::7/128"]),        web6(),   YES),
        ("mapped address",                 dst(&["10.9.8.7/32"]),          mapped(), YES),
        ("negated address inside",         not_dst(&["10.9.8.0/24"]),      web(),    NO),
        ("negated address outside",        not_dst(&["10.9.9.0/24"]),      web(),    YES),
        ("port",                           port(&[8080]),                  web(),    YES),
        ("another port",                   port(&[80]),                    web(),    NO),
        ("one of several ports",           port(&[80, 8080]),              web(),    YES),
        ("the source's port plays no part", port(&[40000]),                web(),    NO),
        ("negated port",                   not_port(&[8080]),              web(),    NO),
        ("negated other port",             not_port(&[80]),                web(),    YES),
        ("negated ports, none may match",  not_port(&[80, 8080]),          web(),    NO),
    ]);
}

#[test]
#[rustfmt::skip]
fn fields_are_anded() {
    check(&[
        ("all hold",                       all([ns(&["shop"]), port(&[8080])]),       web(),   YES),
        ("the first fails",                all([ns(&["bank"]), port(&[8080])]),       web(),   NO),
        ("the second fails",               all([ns(&["shop"]), port(&[80])]),         web(),   NO),
        ("six hold",                       all([ns(&["sh*"]), principal(&["*/web"]), sa(&["shop/web"]), src(&["10.0.0.0/8"]), dst(&["10.9.0.0/16"]), port(&[8080])]), web(), YES),
        ("five of six hold",               all([ns(&["sh*"]), principal(&["*/web"]), sa(&["shop/db"]), src(&["10.0.0.0/8"]), dst(&["10.9.0.0/16"]), port(&[8080])]), web(), NO),
        ("identity and address, plaintext", all([ns(&["shop"]), src(&["10.0.0.0/8"])]), plain(), NO),
        ("negated identity and address, plaintext", all([not_ns(&["bank"]), src(&["10.0.0.0/8"])]), plain(), YES),
        ("all negated",                    all([not_ns(&["bank"]), not_port(&[80])]), web(),   YES),
        ("all negated, one fails",         all([not_ns(&["bank"]), not_port(&[8080])]), web(), NO),
        ("STRICT except a port, on it",    all([not_principal(&["*"]), not_port(&[8080])]), plain(), NO),
        ("STRICT except a port, beside it", all([not_principal(&["*"]), not_port(&[80])]), plain(), YES),
        ("no field at all",                Match::default(),                          web(),   NO),
        ("no field at all, plaintext",     Match::default(),                          plain(), NO),
    ]);
}
