use super::*;

fn bearer(who: Who) -> Bearer {
    Bearer {
        asserted: None,
        who,
        values: Box::default(),
        verdicts: Box::new([true, false]),
        identity: Some(("https://id.example".into(), "sub-1".into())),
        good_until: 100,
        ask_again_at: 50,
        changed: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    }
}

fn user(version: i64) -> Who {
    let id = "user-1".into();
    Who::User { id, version }
}

fn changed(version: i64, active: bool, subject: Option<&str>) -> ChangedUser {
    ChangedUser {
        user: "user-1".to_owned(),
        version,
        active,
        identity: subject.map(|subject| ("https://id.example".to_owned(), subject.to_owned())),
    }
}

fn told(who: Who, changes: &[ChangedUser]) -> (bool, bool) {
    let bearer = bearer(who);
    Changes::of(changes).tell(&bearer);
    (
        bearer.changed.load(Ordering::Relaxed),
        bearer.ended.load(Ordering::Relaxed),
    )
}

#[test]
fn a_change_of_the_user_is_asked_about_and_an_end_ends() {
    assert_eq!(told(user(3), &[]), (false, false));
    let same = changed(3, true, Some("sub-1"));
    assert_eq!(
        told(user(3), &[same]),
        (false, false),
        "it was read already"
    );
    let newer = changed(4, true, Some("sub-1"));
    assert_eq!(told(user(3), &[newer]), (true, false));
    let inactive = changed(4, false, Some("sub-1"));
    assert_eq!(told(user(3), &[inactive]), (true, true));
    let unbound = [changed(4, true, None)];
    assert_eq!(told(user(3), &unbound), (true, true));
    let others = [
        changed(4, true, Some("sub-0")),
        changed(4, true, Some("sub-1")),
    ];
    assert_eq!(
        told(user(3), &others),
        (true, false),
        "one of several identities"
    );
}

#[test]
fn whoever_was_nobody_is_asked_about_once_somebody_has_the_identity() {
    for who in [Who::Machine, Who::Refused(Denial::UnknownUser)] {
        let bound = changed(1, true, Some("sub-1"));
        assert_eq!(told(who.clone(), &[bound]), (true, false));
        let another = changed(1, true, Some("sub-2"));
        assert_eq!(told(who, &[another]), (false, false));
    }
}

#[test]
fn what_is_remembered_stands_until_it_is_to_be_asked_about() {
    let bearer = bearer(user(1));
    assert!(bearer.stands(49) && !bearer.stands(50));
    assert!(bearer.is_live(99) && !bearer.is_live(100));
    bearer.changed.store(true, Ordering::Relaxed);
    assert!(!bearer.stands(49) && bearer.is_live(49));
    bearer.ended.store(true, Ordering::Relaxed);
    assert!(!bearer.is_live(49));
}

#[test]
fn machines_pass_where_the_route_says_so_and_rules_hold_for_all() {
    let (person, machine) = (bearer(user(1)), bearer(Who::Machine));
    assert_eq!(person.may_pass(false, None), Ok(()));
    assert_eq!(person.may_pass(true, Some(0)), Ok(()));
    assert_eq!(person.may_pass(false, Some(1)), Err(Denial::Rule));
    assert_eq!(
        person.may_pass(false, Some(2)),
        Err(Denial::Rule),
        "no such rule"
    );
    assert_eq!(machine.may_pass(false, None), Err(Denial::NoUser));
    assert_eq!(machine.may_pass(true, Some(0)), Ok(()));
    assert_eq!(machine.may_pass(true, Some(1)), Err(Denial::Rule));
    let refused = bearer(Who::Refused(Denial::InactiveUser));
    assert_eq!(refused.may_pass(true, None), Err(Denial::InactiveUser));
}
