//! The lab's DNS server.

use warren_lab::dns::codec::{Code, Data, decode, encode};

pub(super) fn question(data: &[u8]) {
    let Some(question) = decode(data) else { return };
    let answers = [
        (
            question.name.clone(),
            Data::Alias("web.shop.svc.cluster.local".into()),
        ),
        (
            question.name.clone(),
            Data::Service(80, "web.shop.svc.cluster.local".into()),
        ),
    ];
    for code in [Code::NoError, Code::NxDomain] {
        let answer = encode(&question, code, &answers, question.limit);
        assert_eq!(
            answer[..2],
            question.id.to_be_bytes(),
            "an answer to another question"
        );
        assert!(
            decode(&answer).is_none(),
            "an answer was taken for a question"
        );
        let full = encode(&question, code, &answers, usize::MAX);
        assert!(full.len() >= answer.len());
    }
}
