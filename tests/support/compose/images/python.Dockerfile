# Python 3.13 of Debian 13, where the service's Dockerfile expects it, and the certificate authorities of this machine.
FROM localhost/debian
COPY ca-certificates.crt /etc/ssl/certs/
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN ln -s /usr/bin/python3 /usr/local/bin/python
