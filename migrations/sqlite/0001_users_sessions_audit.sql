-- Users, who they are to providers, and the names they gave up.
create table users (
    id            text primary key not null,
    directory     text not null,
    username      text not null,
    -- The username as coarsely as an application's database may compare it: one user a name, over
    -- all directories.
    skeleton      text not null unique,
    status        text not null check (status in ('active', 'inactive')),
    -- The other fields that have a value: a JSON object by field name.
    fields        text not null check (json_valid(fields)),
    created_at    integer not null,
    updated_at    integer not null,
    last_login_at integer
) strict;
create index users_directory on users (directory);

create table identities (
    id         integer primary key,
    issuer     text not null,
    subject    text not null,
    user_id    text not null references users (id) on delete cascade,
    created_at integer not null,
    unique (issuer, subject)
) strict;
create index identities_user on identities (user_id);

create table given_up_usernames (
    skeleton    text primary key not null,
    username    text not null,
    user_id     text references users (id) on delete set null,
    given_up_at integer not null
) strict;
create index given_up_usernames_user on given_up_usernames (user_id);

create table sessions (
    sid        text primary key not null,
    -- The nonce of the authorization response: one response opens one session.
    sign_in    text not null unique,
    user_id    text not null references users (id) on delete cascade,
    provider   text not null,
    -- Sealed.
    id_token   blob not null,
    created_at integer not null,
    expires_at integer not null,
    ended_at   integer
) strict;
create index sessions_user on sessions (user_id);
create index sessions_ended on sessions (ended_at) where ended_at is not null;
create index sessions_expiry on sessions (expires_at, ended_at);

-- Refers to nothing: it outlives what it tells of.
create table audit (
    id        integer primary key autoincrement,
    at        integer not null,
    request   text not null,
    provider  text not null,
    issuer    text not null,
    subject   text not null,
    directory text not null,
    user_id   text,
    username  text,
    outcome   text not null,
    reason    text not null,
    -- Field name to {"before": …, "after": …}, of the fields that changed.
    changes   text not null check (json_valid(changes))
) strict;
create index audit_at on audit (at);
