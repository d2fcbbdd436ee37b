-- Users, who they are to providers, and the names they gave up. Numbers are bigint and truth is 0 or 1, as
-- in the other database: both are read by the same statements.
create table users (
    id            text primary key,
    directory     text not null,
    username      text not null,
    -- The username as coarsely as an application's database may compare it: one user a name, over
    -- all directories. Listed in the order of its bytes.
    skeleton      text collate "C" not null unique,
    status        text not null check (status in ('active', 'inactive')),
    -- What an administrator decided, apart from what the directory says.
    deactivated   bigint not null default 0 check (deactivated in (0, 1)),
    -- A push receiver has them from somebody else: nothing is written to them there or here.
    elsewhere     bigint not null default 0 check (elsewhere in (0, 1)),
    -- The other fields that have a value: a JSON object by field name.
    fields        text not null check (fields::jsonb is not null),
    created_at    bigint not null,
    updated_at    bigint not null,
    last_login_at bigint
);
create index users_directory on users (directory, skeleton);

create table identities (
    id         bigint generated always as identity primary key,
    issuer     text not null,
    subject    text not null,
    user_id    text not null references users (id) on delete cascade,
    created_at bigint not null,
    unique (issuer, subject)
);
create index identities_user on identities (user_id);

create table given_up_usernames (
    skeleton    text collate "C" primary key,
    username    text not null,
    user_id     text references users (id) on delete set null,
    given_up_at bigint not null
);
create index given_up_usernames_user on given_up_usernames (user_id);

-- How many users a directory has, kept in the transaction that creates one.
create table directory_users (
    directory text primary key,
    users     bigint not null
);

create table sessions (
    sid        text primary key,
    -- The nonce of the authorization response: one response opens one session.
    sign_in    text not null unique,
    user_id    text not null references users (id) on delete cascade,
    provider   text not null,
    -- Sealed: the ID token, and the session claims of the sign-in.
    id_token   bytea not null,
    claims     bytea,
    -- What the routes' rules said of them.
    rules      text not null default '{}',
    created_at bigint not null,
    expires_at bigint not null,
    ended_at   bigint
);
create index sessions_user on sessions (user_id);
create index sessions_ended on sessions (ended_at) where ended_at is not null;
create index sessions_expiry on sessions (expires_at, ended_at);

-- Refers to nothing: it outlives what it tells of.
create table audit (
    id        bigint generated always as identity primary key,
    at        bigint not null,
    actor     text not null,
    request   text not null,
    provider  text not null,
    issuer    text not null,
    subject   text not null,
    directory text not null,
    user_id   text,
    username  text,
    outcome   text not null,
    reason    text not null,
    rule      text,
    -- Field name to {"before": …, "after": …}, of the fields that changed.
    changes   text not null
);
create index audit_at on audit (at);
create index audit_user on audit (user_id, id);

-- One row a user and receiver: what is pushed is the user as stored, so changes that wait together are
-- one push, and their order is never lost.
create table pushes (
    user_id      text not null references users (id) on delete cascade,
    -- The receiver's URL.
    target       text not null,
    directory    text not null,
    state        text not null check (state in ('pending', 'delivered', 'foreign', 'rejected', 'discarded')),
    -- Counts the changes of the user; delivered up to that number.
    wanted       bigint not null,
    delivered    bigint not null default 0,
    -- The receiver's id of the user, and what it has from us: a JSON object.
    remote_id    text,
    attributes   text,
    attempts     bigint not null default 0,
    pending_since bigint not null,
    due_at       bigint not null,
    last_error   text,
    -- Who delivers it, until when.
    lease        text,
    leased_until bigint not null default 0,
    primary key (user_id, target)
);
create index pushes_due on pushes (due_at) where state = 'pending';

-- The version of a text directory's file that is applied.
create table directory_files (
    directory    text primary key,
    digest       text,
    modified_at  bigint,
    applied_at   bigint,
    node         text,
    people       bigint,
    lease        text,
    leased_until bigint not null default 0
);
