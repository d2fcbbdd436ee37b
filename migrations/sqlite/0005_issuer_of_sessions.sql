-- Whose `sid` and `subject` these are, since a provider may have an issuer for each tenant. Null: written by an earlier
-- version, whose providers had one.
alter table sessions add column issuer text;
alter table provider_logouts add column issuer text;
