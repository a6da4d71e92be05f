-- The database as release 2.0.1.11 left it: a registry that brings research studies and volunteers together.
CREATE TABLE study (
    id           integer PRIMARY KEY,
    title        text NOT NULL,
    recruiting   boolean NOT NULL,
    published_on date NOT NULL
);

CREATE TABLE volunteer (
    id         integer PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    birth_year integer NOT NULL,
    joined_on  date NOT NULL
);

CREATE TABLE interest (
    study_id     integer NOT NULL REFERENCES study,
    volunteer_id integer NOT NULL REFERENCES volunteer,
    message      text NOT NULL,
    PRIMARY KEY (study_id, volunteer_id)
);

CREATE VIEW recruiting_study AS
SELECT study.id, study.title, count(interest.volunteer_id) AS volunteers
FROM study
LEFT JOIN interest ON interest.study_id = study.id
WHERE study.recruiting
GROUP BY study.id;

INSERT INTO study
SELECT n, 'Study of sleep and memory no. ' || n, n % 4 <> 0, date '2019-01-07' + n * 11
FROM generate_series(1, 40) AS n;

INSERT INTO volunteer
SELECT n, 'volunteer' || n || '@example.org', 1931 + n % 72, date '2019-02-01' + n
FROM generate_series(1, 2000) AS n;

-- One birth year is older than all the others: failing/ stumbles over it.
UPDATE volunteer SET birth_year = 1911 WHERE id = 1204;

INSERT INTO interest
SELECT 1 + n % 40, 1 + n / 3, 'I would like to hear more (' || md5(n::text) || ').'
FROM generate_series(1, 5000) AS n;
