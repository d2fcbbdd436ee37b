-- What an administrator decided, apart from what the directory says; and users whom a push receiver has
-- from somebody else: nothing is written to them there or here.
alter table users add column deactivated integer not null default 0 check (deactivated in (0, 1));
alter table users add column elsewhere integer not null default 0 check (elsewhere in (0, 1));

drop index users_directory;
create index users_directory on users (directory, skeleton);

-- How many users a directory has, kept in the transaction that creates one.
create table directory_users (
    directory text primary key not null,
    users     integer not null
) strict;
insert into directory_users select directory, count(*) from users group by directory;

-- The session claims of the sign-in, sealed, and what the routes' rules said of them.
alter table sessions add column claims blob;
alter table sessions add column rules text not null default '{}';

alter table audit add column actor text not null default 'sign-in';
alter table audit add column rule text;
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
    wanted       integer not null,
    delivered    integer not null default 0,
    -- The receiver's id of the user, and what it has from us: a JSON object.
    remote_id    text,
    attributes   text,
    attempts     integer not null default 0,
    pending_since integer not null,
    due_at       integer not null,
    last_error   text,
    -- Who delivers it, until when.
    lease        text,
    leased_until integer not null default 0,
    primary key (user_id, target)
) strict;
create index pushes_due on pushes (due_at) where state = 'pending';

-- The version of a text directory's file that is applied.
create table directory_files (
    directory    text primary key not null,
    digest       text,
    modified_at  integer,
    applied_at   integer,
    node         text,
    people       integer,
    lease        text,
    leased_until integer not null default 0
) strict;
