"""
A client of SFTP version 3, with hundreds of requests under way; it needs nothing but a stream.

The protocol is draft-ietf-secsh-filexfer-02 (https://www.ietf.org/archive/id/
draft-ietf-secsh-filexfer-02.txt), which every server speaks. The extensions are those of OpenSSH,
described in section 4 of its file PROTOCOL. From the bytes upwards:

- `packets`: what is spoken of: types (section 3), attributes (5), status codes (7).
- `reading`: what arrives made into those values, in bounded memory, or a `ProtocolError`.
- `requests`: one function a request, sections 6.3 to 6.10, and extensions:

  - 4.1, a deviation: the two paths of a symlink request are in the other order than in 6.10;
  - 4.3 `posix-rename@openssh.com`: a rename that replaces, in one step;
  - 4.4 `statvfs@openssh.com`: how much room there is;
  - 4.6 `fsync@openssh.com`: a file is on disk before it is answered;
  - 4.7 `lsetstat@openssh.com`: not used, but who announces it does not follow links in `lstat`;
  - 4.8 `limits@openssh.com`: how long requests may be, and how many files open;
  - 4.10 `copy-data`: the server copies by itself.

- `tasks`: what a task may ask for.
- `conversation`: many tasks over one stream. Answers may come in any order (6.1); what is asked
  about one file is carried out in the order in which it was sent (6.1 again), and nothing here
  relies on an order between different files.
- `looking`, `writing`, `changing`: tasks, each one thing done to one file, as generators that do no
  input or output and can be tested by handing them answers.
- `removing`: whole trees, which take a task after the other.

Every extension is used where the server announces it, and done without where it does not.
"""
