//! Modes and lists as users, systemd and Kubernetes leave them, and those that let somebody in.

use super::acl::Entry;
use super::*;

const USER: u32 = 1000;
const SECRETS: u32 = 2000;

fn service() -> Reader {
    Reader {
        user: USER,
        groups: vec![USER, SECRETS],
        fixed: false,
        credential: false,
    }
}

fn root() -> Reader {
    Reader {
        user: 0,
        groups: vec![0],
        ..service()
    }
}

fn file(mode: u32, owner: u32, group: u32) -> Access {
    Access {
        mode,
        owner,
        group,
        list: None,
    }
}

#[test]
fn whoever_can_close_a_file_has_to() {
    for mode in [0o600, 0o400] {
        assert_eq!(service().unwanted(&file(mode, USER, USER)), None);
    }
    for mode in [0o640, 0o440, 0o660, 0o610] {
        let open = file(mode, USER, SECRETS);
        assert_eq!(
            service().unwanted(&open),
            Some(Audience::Group(SECRETS)),
            "{mode:o}"
        );
    }
    assert_eq!(root().unwanted(&file(0o640, 0, 0)), Some(Audience::Group(0)));
}

#[test]
fn a_mounted_secret_may_be_read_by_roots_group_and_by_ones_own() {
    for (mode, group) in [(0o440, 0), (0o440, SECRETS), (0o640, SECRETS), (0o640, 0)] {
        assert_eq!(
            service().unwanted(&file(mode, 0, group)),
            None,
            "{mode:o} {group}"
        );
    }
    let mounted = Reader {
        fixed: true,
        ..service()
    };
    assert_eq!(mounted.unwanted(&file(0o440, USER, SECRETS)), None);
    assert_eq!(root().unwanted(&file(0o440, 0, 0)), None);
    // A group that this process is not in is somebody else's.
    assert_eq!(service().unwanted(&file(0o440, 0, 7)), Some(Audience::Group(7)));
    assert_eq!(root().unwanted(&file(0o440, 0, 7)), Some(Audience::Group(7)));
}

#[test]
fn others_and_a_group_that_may_write_are_refused_however_the_file_came() {
    let mounted = Reader {
        fixed: true,
        credential: true,
        ..service()
    };
    for mode in [0o444, 0o604, 0o644, 0o601, 0o602] {
        assert_eq!(
            mounted.unwanted(&file(mode, 0, 0)),
            Some(Audience::Others),
            "{mode:o}"
        );
    }
    for mode in [0o460, 0o620, 0o420] {
        assert_eq!(
            mounted.unwanted(&file(mode, 0, 0)),
            Some(Audience::Group(0)),
            "{mode:o}"
        );
    }
}

/// As `LoadCredential=` with `User=` leaves a file: stat shows 0440.
fn listed(list: Vec<Entry>) -> Access {
    Access {
        list: Some(list),
        ..file(0o440, 0, 7)
    }
}

#[test]
fn the_mask_of_a_list_is_not_the_groups_right() {
    let closed = |user| {
        listed(vec![
            Entry::User(user, 4),
            Entry::Group(None, 0),
            Entry::Mask(4),
            Entry::Other(0),
        ])
    };
    assert_eq!(service().unwanted(&closed(USER)), None);
    assert_eq!(service().unwanted(&closed(0)), None);
    assert_eq!(service().unwanted(&closed(65534)), Some(Audience::User(65534)));
    let credential = Reader {
        credential: true,
        ..root()
    };
    assert_eq!(credential.unwanted(&closed(65534)), None);
}

#[test]
fn a_list_that_lets_a_group_or_others_in_is_refused() {
    let cases = [
        (vec![Entry::Group(None, 4), Entry::Mask(4)], Audience::Group(7)),
        (vec![Entry::Group(Some(9), 4), Entry::Mask(4)], Audience::Group(9)),
        (vec![Entry::Group(None, 6), Entry::Mask(6)], Audience::Group(7)),
        (vec![Entry::User(9, 6), Entry::Mask(2)], Audience::User(9)),
        (vec![Entry::Other(4)], Audience::Others),
    ];
    for (list, audience) in cases {
        assert_eq!(
            service().unwanted(&listed(list.clone())),
            Some(audience),
            "{list:?}"
        );
    }
    // The mask takes the right away again.
    let masked = vec![Entry::Group(Some(9), 4), Entry::User(9, 4), Entry::Mask(0)];
    assert_eq!(service().unwanted(&listed(masked)), None);
}

#[test]
fn a_list_is_read_as_the_kernel_keeps_it() {
    let bytes = [
        &[2, 0, 0, 0][..],
        &[1, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xfe, 0xff, 0, 0],
        &[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[8, 0, 5, 0, 7, 0, 0, 0],
        &[0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    assert_eq!(
        acl::parse(&bytes).unwrap(),
        [
            Entry::User(65534, 4),
            Entry::Group(None, 0),
            Entry::Group(Some(7), 5),
            Entry::Mask(4),
            Entry::Other(0),
        ]
    );
    for bad in [
        &[][..],
        &[1, 0, 0, 0],
        &bytes[..bytes.len() - 1],
        &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(acl::parse(bad), None, "{bad:?}");
    }
}
